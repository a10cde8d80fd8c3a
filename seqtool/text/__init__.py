"""Files to sentences: strict text streams, columns, tag schemes, vocabularies and batches."""
