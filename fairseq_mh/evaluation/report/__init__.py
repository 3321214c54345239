"""One HTML page of what `scripts/experiments.py` wrote (the extra `report`)."""
