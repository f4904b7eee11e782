"""Control with an adversary: the env, its couplings, and what can be perturbed in a simulator."""
