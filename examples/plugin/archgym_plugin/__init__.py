"""An agent and a simulator for archgym."""
