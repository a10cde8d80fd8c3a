"""Language models of characters, bytes, subwords and words, and the yardsticks beside them."""
