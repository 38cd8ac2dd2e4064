"""The nouns: frozen types that stages hand to each other. No effects here."""
