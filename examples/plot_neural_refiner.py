"""
Can a neural classifier refine, too?
====================================

Any scikit-learn classifier of sequences can. Here an LSTM, trained by skorch, stands beside the
default, logistic regression on hashed n-grams. Below both is a plain LSTM; `fit` warns that an n-gram
model is better. The neural judge finds nothing on names that exceeds the noise: beta is 0, no change.
"""

import torch
from matplotlib import pyplot
from sklearn.frozen import FrozenEstimator
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer
from skorch import NeuralNetBinaryClassifier

from likelihood_gan import CharLSTM, LikelihoodGAN, LSTMDiscriminator, Refined
from likelihood_gan.datasets import load_first_names
from likelihood_gan.vocabulary import stack_rows

PRETRAIN_EPOCHS = 30
N_SAMPLES = 10_000
EPOCHS = 6
torch.set_num_threads(1)
torch.manual_seed(0)  # skorch draws from PyTorch's global state

names = load_first_names()
gan = LikelihoodGAN(CharLSTM, objective="mle", pretrain_epochs=PRETRAIN_EPOCHS)
gan.set_params(adversarial_epochs=0, random_state=0).fit(names)


def to_tokens(sequences):
    """Encode names as rows of equal width: what is judged must not show where it stood."""
    rows = [gan.vocabulary_.encode(sequence) for sequence in sequences]
    return stack_rows([*rows, [1] * gan.max_len_])[:-1].numpy()


class Judge(NeuralNetBinaryClassifier):
    def get_loss(self, y_pred, y_true, **kwargs):  # the loss wants floats
        return super().get_loss(y_pred, y_true.float(), **kwargs)


lstm = Judge(
    LSTMDiscriminator,
    module__n_tokens=gan.vocabulary_.n_tokens,
    optimizer=torch.optim.AdamW,
    lr=0.002,
    max_epochs=EPOCHS,
    train_split=None,
    verbose=0,
)
neural = make_pipeline(FunctionTransformer(to_tokens), lstm)
figure, axis = pyplot.subplots(layout="constrained")
for name, classifier in {"n-grams": None, "LSTM": neural}.items():
    refined = Refined(FrozenEstimator(gan), classifier, n_samples=N_SAMPLES, random_state=0)
    refined.fit(names)
    print(name, *refined.sample(5, random_state=0), sep=", ")
    print(f"    {refined.gain_:+.3f} held-out nats, beta {refined.beta_}")
    axis.bar(name, refined.gain_, yerr=refined.gain_error_, capsize=4)
axis.set_ylabel("held-out nats per name gained")
