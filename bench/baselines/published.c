#include "bench/baselines/published.h"

#define MIB 1048576.0
#define ROW(name, form, seconds, size, who, from, what)                                                                            \
    {.system = name, .shape = form, .how = COMPARE_PUBLISHED, .offline_s = NAN, .online_s = seconds, .offline_bytes = NAN, .bytes = size,    \
     .path_bytes = NAN, .rounds = NAN, .wait_s = NAN, .tokens = NAN, .max_err = NAN, .mean_err = NAN, .own_max_err = NAN,              \
     .own_mean_err = NAN, .protects = who, .source = from, .note = what}

static const struct compare_row rows[] = {
    ROW("STIP", "gpt2-124m", 0.0317, 13.3 * MIB, "three parties, semi-honest", "NDSS 2026",
        "45,366 tokens/s at batch 100 on 4 A100; production 70B: 12 % more latency"),
    ROW("STIP", "llama2-7b", NAN, NAN, "three parties, semi-honest", "NDSS 2026", "3,738 tokens/s at batch 100 on 4 A100"),
    ROW("Puma", "llama-7b, 1 token", 300, 2048 * MIB, "three parties, replicated", "arXiv 2307.12533", "about 5 minutes a token"),
    ROW("Puma", "gpt2-124m, 1 token", 1 / 0.067, NAN, "three parties, replicated", "NDSS 2026", "0.067 tokens/s"),
    ROW("CipherGPT", "gpt2-124m, 1 token", 1500, 95151 * MIB, "two parties", "ePrint 2023/1147, by NDSS 2026", "over 25 minutes a token"),
    ROW("SecFormer", "bert-base, bert-large", NAN, NAN, "two parties and a dealer", "arXiv 2401.00793",
        "3.57 and 3.58 times as fast as Puma; accuracy 5.6 % and 24.2 % above MPCFormer"),
    ROW("MPCFormer", "bert-base", NAN, NAN, "two parties and a dealer", "arXiv 2211.01452",
        "5.3 times as fast as BERT-base in MPC on IMDb, 2.2 on GLUE at 97 % of its accuracy"),
    ROW("CrypTen", "bert-base", 60, NAN, "two parties and a dealer", "arXiv 2211.01452", "about 60 s, what MPCFormer starts from"),
    ROW("THE-X", "bert-tiny", NAN, NAN, "HE; the client decrypts for ReLU", "arXiv 2206.00216", "CKKS, \"negligible performance drop\""),
    ROW("polynomial transformer", "WikiText-103, CIFAR-100", NAN, NAN, "HE, non-interactive", "arXiv 2311.08610", "CKKS with bootstrapping"),
    ROW("Primer", "", NAN, NAN, "HE and garbled circuits", "arXiv 2303.13679", "latency 90.6 to 97.5 % below earlier work"),
    ROW("BumbleBee", "llama-7b, 1 token", 480, NAN, "two parties, HE", "its paper", "about 8 minutes a token"),
    ROW("NEXUS", "bert-base", 37.3, 164e6, "HE, non-interactive", "its paper", ""),
    ROW("PermLLM", "chatglm-6b, 1 token", 3, 20e6, "two parties and a permutation", "arXiv 2405.18744", "about 3 s a token"),
    ROW("SIGMA", "gpt2", 1.6, NAN, "two parties, function secret sharing, GPU", "its paper", "LLaMA2-13B 44 s"),
};

const struct compare_row *published_row(size_t i)
{
    return i < sizeof rows / sizeof *rows ? &rows[i] : 0;
}
