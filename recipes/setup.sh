# Creates the environment in which quickstart.sh and tests/run.sh work; POSIX sh.
# `sh recipes/setup.sh` installs seqtool into .venv and does nothing else. Those two scripts source this file:
# they set `root` (the repository) and call `set_up` or `set_up dev`; afterwards `python` is the interpreter of
# $root/.venv. If nothing has changed, a second call returns at once and needs no network.

torch_tested='torch==2.13.0'
torch_allowed='torch>=2.10'

# Print each argument as a line on stderr; stdout is for results.
say() {
    printf '%s\n' "$@" >&2
}

# Print the first Python that is new enough. Each one is run, because a name on PATH may still not work.
find_python() {
    for candidate in ${PYTHON:-} python3.13 python3.12 python3.11 python3.14 python3 python; do
        if "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
            printf '%s\n' "$candidate"
            return 0
        fi
    done
    say 'seqtool needs Python 3.11 or newer, and none was found. Install it, or name it: PYTHON=/path/to/python3.11 sh '"$0"
    return 1
}

pip_install() {
    "$python" -m pip install -q --disable-pip-version-check "$@"
}

# set_up [EXTRA]: create .venv and install this checkout into it, with one optional extra of pyproject.toml.
set_up() {
    extra=${1:-}
    python=$root/.venv/bin/python
    if ! "$python" -m pip --version >/dev/null 2>&1; then
        if [ -e "$root/.venv" ] || [ -L "$root/.venv" ]; then
            say "$root/.venv exists but is not a Python environment; remove it and run this again"
            return 1
        fi
        found=$(find_python) || return 1
        say "Creating $root/.venv with $("$found" --version)"
        "$found" -m venv "$root/.venv" || {
            rm -rf "$root/.venv"  # the half that was made would be in the way of the next try
            say 'The environment could not be created. On Debian and Ubuntu, first run: sudo apt install python3-venv'
            return 1
        }
    fi
    if ! "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))'; then
        say "$root/.venv has $("$python" --version), which is older than 3.11. Remove that folder and run this again."
        return 1
    fi
    # The stamp holds what the installation depends on: pyproject.toml, where the checkout stands, how it is linked.
    stamp=$root/.venv/seqtool-installed${extra:+-$extra}
    wanted="$("$python" -c 'import hashlib, sys; print(hashlib.sha256(open(sys.argv[1], "rb").read()).hexdigest())' \
        "$root/pyproject.toml") $root compat" || return 1
    if [ -f "$stamp" ] && [ "$(cat "$stamp")" = "$wanted" ]; then
        return 0
    fi
    if ! "$python" -m pip show -q torch >/dev/null 2>&1; then
        say "Installing $torch_tested (a large download, needed only once)"
        pip_install "$torch_tested" || {
            say "$torch_tested is not available here; trying $torch_allowed"
            pip_install "$torch_allowed" || return 1
        }
    fi
    say "Installing seqtool${extra:+ with its $extra tools} from $root"
    # compat puts the checkout itself on Python's path. With the default, `import seqtool` in the folder above a
    # checkout that is called seqtool would find that folder, as a package without content.
    pip_install --config-settings editable_mode=compat -e "$root${extra:+[$extra]}" || return 1
    printf '%s\n' "$wanted" >"$stamp"
}

case $0 in
    setup.sh | */setup.sh)
        set -eu
        root=$(cd "$(dirname "$0")/.." && pwd)
        set_up
        say "seqtool is installed in $root/.venv. Type this once per terminal:" "    . \"$root/.venv/bin/activate\""
        ;;
esac
