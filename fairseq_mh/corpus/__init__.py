"""Translation of whole corpora, from lines of text to records, on any number of workers."""
