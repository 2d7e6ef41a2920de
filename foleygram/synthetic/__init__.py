"""Videos rendered with sound, to train and to measure on: nothing of the core imports them."""
