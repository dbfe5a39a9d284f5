"""Callbacks for `Model.fit`."""
