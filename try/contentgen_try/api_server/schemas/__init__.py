"""Resource types, and validation of custom resources by the schemas and CEL rules of their CRDs."""
