"""The publications behind what a run used, found by the words that call for them."""

from __future__ import annotations

# Name in text, the reference, and what calls for it in methods, objectives and the report's own sentences.
_PUBLICATIONS: tuple[tuple[str, str, tuple[str, ...]], ...] = (
    ("Hinton et al. 2015", "Distilling the Knowledge in a Neural Network. arXiv:1503.02531", ("WordKD(", "WordCE(")),
    ("Kim & Rush 2016", "Sequence-Level Knowledge Distillation. EMNLP. arXiv:1606.07947",
     ("seq-kd", "WordKD(", "WordCE(")),
    ("Szegedy et al. 2016", "Rethinking the Inception Architecture for Computer Vision. CVPR. arXiv:1512.00567",
     ("label_smoothing",)),
    ("Freitag et al. 2017", "Ensemble Distillation for Neural Machine Translation. arXiv:1702.01802", ("Ensemble(",)),
    ("Vaswani et al. 2017", "Attention Is All You Need. NeurIPS. arXiv:1706.03762", ("Transformer",)),
    ("Kudo & Richardson 2018", "SentencePiece. EMNLP demonstrations. arXiv:1808.06226", ("SentencePiece",)),
    ("Junczys-Dowmunt et al. 2018", "Marian: Fast Neural Machine Translation in C++. ACL demonstrations. arXiv:1804.00344",
     ("Marian",)),
    ("Popović 2015", "chrF: character n-gram F-score for automatic MT evaluation. WMT. ACL Anthology W15-3049",
     ("chrF",)),
    ("Post 2018", "A Call for Clarity in Reporting BLEU Scores. WMT. arXiv:1804.08771", ("sacreBLEU",)),
    ("Koehn 2004", "Statistical Significance Tests for Machine Translation Evaluation. EMNLP. ACL Anthology W04-3250",
     ("bootstrap",)),
    ("Riezler & Maxwell 2005", "On Some Pitfalls in Automatic Evaluation and Significance Testing for MT. ACL Anthology W05-0908",
     ("approximate randomisation",)),
    ("Holm 1979", "A Simple Sequentially Rejective Multiple Test Procedure. Scandinavian Journal of Statistics 6",
     ("Holm",)),
    ("Gordon & Duh 2019", "Explaining Sequence-Level Knowledge Distillation as Data-Augmentation for NMT. arXiv:1912.03334",
     ()),
    ("Sun et al. 2019", "Patient Knowledge Distillation for BERT Model Compression. EMNLP. arXiv:1908.09355",
     ("map='skip'",)),
    ("Sanh et al. 2019", "DistilBERT, a distilled version of BERT. arXiv:1910.01108", ("Cosine(",)),
    ("Aji & Heafield 2020",
     "Fully Synthetic Data Improves Neural Machine Translation with Knowledge Distillation. arXiv:2012.15455", ()),
    ("Dabre & Fujita 2020", "Softmax Tempering for Training Neural Machine Translation Models. arXiv:2009.09372", ()),
    ("Shleifer & Rush 2020", "Pre-trained Summarization Distillation. arXiv:2010.13002",
     ("HiddenMSE(", "teacher's layers")),
    ("Lin et al. 2020", "Autoregressive Knowledge Distillation through Imitation Learning. EMNLP. arXiv:2009.07253",
     ("on-policy",)),
    ("Wu et al. 2020", "Why Skip If You Can Combine. EMNLP. arXiv:2010.03034", ("LayerCombination(",)),
    ("Jafari et al. 2021", "Annealing Knowledge Distillation. EACL. arXiv:2104.07163", ("LogitMSE(",)),
    ("Khandelwal et al. 2021", "Nearest Neighbor Machine Translation. ICLR. arXiv:2010.00710", ("KNNKD(",)),
    ("Wang et al. 2021", "Selective Knowledge Distillation for Neural Machine Translation. ACL. arXiv:2105.12967",
     ("SelectiveKD(",)),
    ("Yang et al. 2022", "Nearest Neighbor Knowledge Distillation for Neural Machine Translation. NAACL. arXiv:2205.00479",
     ("KNNKD(",)),
    ("Wen et al. 2023", "f-Divergence Minimization for Sequence-Level Knowledge Distillation. ACL. arXiv:2307.15190",
     ("TotalVariation(", "ReverseKD(", "f-distill")),
    ("Zhang et al. 2023", "Towards Understanding and Improving Knowledge Distillation for NMT. ACL. arXiv:2305.08096",
     ("Ranking(", "Top1(")),
    ("Agarwal et al. 2024", "On-Policy Distillation of Language Models. ICLR. arXiv:2306.13649",
     ("JensenShannon(", "on-policy")),
    ("Finkelstein & Freitag 2024", "MBR and QE Finetuning. ICLR. arXiv:2309.10966", ()),
    ("Jin et al. 2024", "Align-to-Distill. LREC-COLING. arXiv:2403.01479", ("AttentionAlignment(",)),
    ("Ko et al. 2024", "DistiLLM. ICML. arXiv:2402.03898", ("SkewKD(",)),
    ("Wu et al. 2024", "Rethinking Kullback-Leibler Divergence in KD for Large Language Models. arXiv:2404.02657",
     ("AdaptiveKD(",)),
)  # fmt: skip


def cited(text: str) -> list[tuple[str, str]]:
    """Name and reference of every publication that a text names or calls for, by name."""
    found = [(name, full) for name, full, calls in _PUBLICATIONS if any(word in text for word in (name, *calls))]
    return sorted(found)


def citation(*words: str, besides: str = "") -> str:
    """ "(A 2015; B 2016)" for words that call for these, but for those that `besides` names; empty for none."""
    names = [name for name, _ in cited(" ".join(words)) if name not in besides]
    return f" ({'; '.join(names)})" if names else ""
