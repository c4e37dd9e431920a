"""Programs that people copy: each shows one use of the platform from beginning to end. The platform imports nothing from here."""
