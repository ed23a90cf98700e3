"""kangae-tiny, the model that ships: weights, card, teacher and trainer. Imports nothing of ours from outside this folder."""
