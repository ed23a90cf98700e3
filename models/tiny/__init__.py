"""kangae-tiny, the model that ships: weights, card, teacher and trainer.

It imports nothing of ours from outside this folder.
"""
