"""Who answers for an id: peers over their connections."""
