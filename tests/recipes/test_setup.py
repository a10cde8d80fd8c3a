"""setup.sh with a stand-in interpreter that only records how it is called."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

SETUP = Path(__file__).resolve().parents[2] / "recipes" / "setup.sh"
# `-c` goes to a real Python; `-m venv` copies this script; pip succeeds unless told otherwise.
INTERPRETER = """#!/bin/sh
case "$1 $2 $3" in
    '-m pip --version') exit 0 ;;
    '-m pip show') [ -e "$LOG.torch" ]; exit ;;
    '-m pip install')
        for last; do :; done
        echo "install $last" >>"$LOG"
        case "$last" in "${REFUSE:-nothing}") exit 1 ;; torch*) touch "$LOG.torch" ;; esac ;;
    '-m venv '*) mkdir -p "$3/bin" && cp "$0" "$3/bin/python" && echo venv >>"$LOG" ;;
    --version*) echo Python 3.11.9 ;;
    *) exec "$REAL" "$@" ;;
esac
"""


class Workshop:
    """A checkout that holds only pyproject.toml, and a PATH with only the stand-in interpreter."""

    def __init__(self, folder: Path) -> None:
        self.root = folder / "a checkout"
        self.log = folder / "log"
        self.path = folder / "bin"
        self.root.mkdir()
        self.path.mkdir()
        (self.root / "pyproject.toml").write_text("first")
        (self.path / "python3").write_text(INTERPRETER)
        (self.path / "python3").chmod(0o755)

    def run_itself(self) -> subprocess.CompletedProcess[str]:
        """Run `sh recipes/setup.sh` in the checkout."""
        script = self.root / "recipes" / "setup.sh"
        script.parent.mkdir()
        script.write_text(SETUP.read_text(encoding="utf-8"), encoding="utf-8")
        self.log.write_text("")
        environment = {"LOG": str(self.log), "REAL": sys.executable, "PATH": f"{self.path}:/usr/bin:/bin"}
        environment["PYTHON"] = "python3"
        return subprocess.run(
            ["sh", script], env=environment, capture_output=True, text=True, check=False, cwd=self.path
        )

    def set_up(self, extra: str = "", **variables: str) -> tuple[int, list[str], str]:
        """Exit status, what was installed since the last call, stderr."""
        self.log.write_text("")
        environment = {"LOG": str(self.log), "REAL": sys.executable, "PATH": f"{self.path}:/usr/bin:/bin"}
        script = f'set -eu; root=$1; . "{SETUP}"; set_up {extra}'
        done = subprocess.run(
            ["sh", "-c", script, "sh", self.root],
            env=environment | variables,
            capture_output=True,
            text=True,
            check=False,
        )
        return done.returncode, self.log.read_text().splitlines(), done.stderr


@pytest.fixture
def workshop(tmp_path):
    return Workshop(tmp_path)


def test_first_run_makes_the_environment_and_installs_the_tested_torch_before_the_checkout(workshop):
    status, log, _ = workshop.set_up(PYTHON="python3")
    assert (status, log) == (0, ["venv", "install torch==2.13.0", f"install {workshop.root}"])


def test_second_run_does_nothing_and_says_nothing(workshop):
    workshop.set_up(PYTHON="python3")
    assert workshop.set_up() == (0, [], "")


def test_another_extra_is_installed_once(workshop):
    workshop.set_up(PYTHON="python3")
    assert workshop.set_up("dev")[1] == [f"install {workshop.root}[dev]"]
    assert workshop.set_up("dev")[1] == []


def test_changed_project_file_installs_the_checkout_again_but_not_torch(workshop):
    workshop.set_up(PYTHON="python3")
    (workshop.root / "pyproject.toml").write_text("second")
    assert workshop.set_up()[1] == [f"install {workshop.root}"]


def test_moved_checkout_is_installed_again(workshop):
    workshop.set_up(PYTHON="python3")
    workshop.root = workshop.root.rename(workshop.root.with_name("moved"))
    assert workshop.set_up()[1] == [f"install {workshop.root}"]


def test_without_the_tested_torch_any_allowed_one_is_taken(workshop):
    status, log, stderr = workshop.set_up(PYTHON="python3", REFUSE="torch==2.13.0")
    expected = ["venv", "install torch==2.13.0", "install torch>=2.10", f"install {workshop.root}"]
    assert (status, log) == (0, expected)
    assert "torch==2.13.0 is not available here; trying torch>=2.10" in stderr


def test_failed_installation_fails_and_is_tried_again(workshop):
    status, _, _ = workshop.set_up(PYTHON="python3", REFUSE=str(workshop.root))
    assert status != 0
    assert workshop.set_up()[1] == [f"install {workshop.root}"]


def test_without_a_new_enough_python_it_says_what_to_do(workshop):
    """A program that always fails stands in for every Python on the machine."""
    for name in ("python3.13", "python3.12", "python3.11", "python3.14", "python3", "python"):
        (workshop.path / name).write_text("#!/bin/sh\nexit 1\n")
        (workshop.path / name).chmod(0o755)
    status, log, stderr = workshop.set_up()
    assert (status, log) == (1, [])
    assert "needs Python 3.11 or newer, and none was found" in stderr


def test_run_by_itself_it_installs_the_checkout_and_nothing_else(workshop):
    done = workshop.run_itself()
    log = workshop.log.read_text().splitlines()
    assert (done.returncode, done.stdout) == (0, "")
    assert log == ["venv", "install torch==2.13.0", f"install {workshop.root}"]
    assert f'. "{workshop.root}/.venv/bin/activate"' in done.stderr


@pytest.mark.parametrize("is_folder", [True, False])
def test_a_venv_that_is_no_environment_is_named_and_left_alone(workshop, is_folder):
    venv = workshop.root / ".venv"
    if is_folder:
        (venv / "bin").mkdir(parents=True)
    else:
        venv.write_text("mine")
    status, log, stderr = workshop.set_up(PYTHON="python3")
    assert (status, log, venv.exists()) == (1, [], True)
    assert stderr == f"{venv} exists but is not a Python environment; remove it and run this again\n"
