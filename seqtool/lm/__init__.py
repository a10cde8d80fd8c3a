"""Language models of characters, bytes, subwords and words, and the baselines that they are compared with."""
