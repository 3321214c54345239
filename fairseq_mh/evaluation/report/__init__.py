"""Makes one HTML page of what `fairseq-mh experiments` wrote (the extra `report`)."""
