"""Reading, augmenting and synthesising text-detection data. Knows no network."""
