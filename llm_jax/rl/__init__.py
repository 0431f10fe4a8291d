"""Learning from rewards: environments, rollouts, advantages, objectives."""
