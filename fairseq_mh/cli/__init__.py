"""The command `fairseq-mh`, with one module for each subcommand."""
