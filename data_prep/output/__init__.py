"""What comes out: datasets joined and put in place, with their manifest, card, scores, and what was removed."""
