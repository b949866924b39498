"""AWS's wire protocols (json, rest-json, rest-xml, query), driven by the shapes of `aws.services`."""
