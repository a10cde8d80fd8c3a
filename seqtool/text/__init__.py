"""From files to sentences and batches: strict text streams, columns, tag schemes, vocabularies."""
