"""Makes an HTML page from the results of `fairseq-mh experiments` (needs the extra `report`)."""
