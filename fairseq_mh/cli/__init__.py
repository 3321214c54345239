"""The command `fairseq-mh`: a module for each subcommand."""
