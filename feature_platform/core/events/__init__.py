"""Raw and validated events of a day, as values. Reading them does not belong here."""
