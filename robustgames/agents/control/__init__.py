"""The parts of the agents of control: episodes, replay, exploration, critics and policies."""
