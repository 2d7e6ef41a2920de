"""A world simulated and rendered with MuJoCo: contacts make the sound. Needs the extra `foleygram[render]`."""
