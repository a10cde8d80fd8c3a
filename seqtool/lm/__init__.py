"""Language models: text in, text and its probability out."""
