"""Who may be who: certificates of succession, tickets, and what is held against strangers."""
