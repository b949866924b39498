"""Front door: AWS bytes <-> typed calls. CamelCase, ARNs, SigV4 and HTTP codes end here."""
