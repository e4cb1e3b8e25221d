"""The demo's film: drawn, spoken and encoded here."""
