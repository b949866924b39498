"""Fakes and conformance suites, for trimtab's tests and for engines, stores and object stores of others."""
