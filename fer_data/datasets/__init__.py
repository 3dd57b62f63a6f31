"""Where sequences come from: one adapter a file, listed in adapters.py, and what their authors published."""
