"""Pictures for people: ranked lists, activation maps, genotype diagrams."""
