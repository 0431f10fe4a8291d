"""What a completion is rewarded for; `scorer.py` puts rewards together."""
