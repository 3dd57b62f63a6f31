"""What the pages need of Sphinx beyond its own. `extension` imports Sphinx; the other modules do not."""
