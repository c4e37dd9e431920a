"""Operating a platform: what state each feature set is in, and which incidents people hear of. Looking and sending do not belong here."""
