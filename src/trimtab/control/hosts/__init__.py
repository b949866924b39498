"""Control's side of model hosts: artifacts for them, settings to them, and what they tell."""
