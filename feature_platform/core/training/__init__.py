"""Training sets: which version was known at each label's moment, and the manifest that proves it. Joining rows does not belong here."""
