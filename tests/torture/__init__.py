"""`make torture`: kills, power cuts, hostile files, damaged run folders and races, counted."""
