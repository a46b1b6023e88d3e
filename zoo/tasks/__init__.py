"""Models trained and used on raw text: matchers, classifiers, language models."""
