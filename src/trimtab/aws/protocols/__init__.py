"""AWS's wire protocols (json, cbor, rest-json, rest-xml, query), driven by the shapes of `aws.services`."""
