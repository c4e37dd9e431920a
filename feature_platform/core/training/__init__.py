"""Training sets: what was known of features at each label's moment, and the manifest that proves it. Joining rows does not belong here."""
