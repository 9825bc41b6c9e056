"""JSON Web Tokens, which an identity provider signs."""
