/* What stip-bench computes beside the models: order statistics, figures, limits of the machine, GGUF files, peers. */
#include <criterion/criterion.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/le.h"
#include "bench/gguf.h"
#include "bench/machine.h"
#include "bench/peer.h"
#include "bench/plot.h"
#include "bench/shapes.h"
#include "bench/speed_rows.h"
#include "bench/stats.h"
#include "model/checkpoint.h"
#include "tests/support/synth.h"
#include "tests/support/tempdir.h"

/* ------------------------------------------------------------------ order statistics */

Test(bench, percentiles_lie_between_the_samples)
{
    double v[] = {5, 1, 4, 2, 3}, even[] = {4, 1, 3, 2}, one[] = {7};
    cr_expect_eq(stats_median(v, 5), 3);
    cr_expect_eq(v[0], 1, "sorted");
    cr_expect_eq(stats_percentile(v, 5, 0), 1);
    cr_expect_eq(stats_percentile(v, 5, 100), 5);
    cr_expect_float_eq(stats_percentile(v, 5, 95), 4.8, 1e-12);
    cr_expect_eq(stats_median(even, 4), 2.5);
    cr_expect_eq(stats_percentile(one, 1, 99), 7);
    cr_expect(isnan(stats_percentile(NULL, 0, 50)));
}

/* ------------------------------------------------------------------ figures */

/* Every element that is opened is closed, in order, and the document is one <svg>. */
static void well_formed(const char *path, const char *words)
{
    size_t len, depth = 0, svgs = 0;
    char *text = tempdir_slurp(path, &len), *open[64], *nan = strstr(text, "nan");
    cr_expect_not_null(strstr(text, words), "%s", words);
    cr_expect_null(nan, "%s", nan);
    cr_expect_null(strstr(text, "inf\""));
    for (char *p = text; (p = strchr(p, '<')) != NULL;) {
        char *end = strchr(p, '>');
        cr_assert_not_null(end);
        cr_assert(memchr(p + 1, '<', (size_t)(end - p - 1)) == NULL, "an element inside an element's name");
        svgs += strncmp(p, "<svg ", 5) == 0;
        if (p[1] == '/') {
            cr_assert_gt(depth, 0);
            depth--;
            size_t n = strcspn(open[depth], " >");
            cr_expect(strncmp(p + 2, open[depth], n) == 0 && p[2 + n] == '>', "%.20s", p);
        } else if (end[-1] != '/') {
            cr_assert_lt(depth, 64);
            open[depth++] = p + 1;
        }
        p = end;
    }
    cr_expect_eq(depth, 0);
    cr_expect_eq(svgs, 1);
    cr_expect(strncmp(text, "<svg ", 5) == 0 && strcmp(text + len - 7, "</svg>\n") == 0);
    free(text);
}

Test(bench, figures_are_well_formed_whatever_the_numbers_are)
{
    char dir[FILE_PATH_MAX];
    struct err err = {0};
    tempdir_make(dir);
    const double x[] = {1, 10, 0, NAN, 1000}, y[] = {1, INFINITY, 2, 3, 50}, zero[] = {0, 0};
    const struct plot_series some = {"a < b & \"c\"", x, y, 5}, none = {"nothing", NULL, NULL, 0}, flat = {"flat", zero, zero, 2};
    const struct plot_panel panels[] = {{"Title <1>", "x", "y", true, &some, 1, false}, {"empty", "x", "y", true, &none, 1, true},
                                        {"flat", "x", "y", false, &flat, 1, false}};
    cr_assert_eq(plot_lines(tempdir_path(dir, "l.svg"), "A & B", panels, 3, &err), 0, "%s", err.text);
    well_formed(tempdir_path(dir, "l.svg"), "a &#60; b &#38; &#34;c&#34;");
    const double one_x[] = {0.3}, one_y[] = {2e-5}, low_y[] = {0};
    const struct plot_series marks[] = {{"a mark", one_x, one_y, 1}, {"none: no logarithm", one_x, low_y, 1}};
    const struct plot_panel scatter = {"marks", "x", "y", true, marks, 2, true};
    cr_assert_eq(plot_lines(tempdir_path(dir, "s.svg"), "Marks", &scatter, 1, &err), 0, "%s", err.text);
    well_formed(tempdir_path(dir, "s.svg"), "1e-05"); /* the decade that it stands in */

    const char *groups[] = {"one", "two"}, *series[] = {"private", "plain"}, *labels[] = {"10/s", "20/s", "30/s", NULL};
    const double values[] = {10, 20, 30, NAN};
    struct plot_bars bars = {"Bars", "%", groups, series, 2, 2, values, labels, 100, "limit", false};
    cr_assert_eq(plot_bars(tempdir_path(dir, "b.svg"), &bars, &err), 0, "%s", err.text);
    well_formed(tempdir_path(dir, "b.svg"), "30/s");
    bars.group_count = bars.series_count = 0;
    cr_assert_eq(plot_bars(tempdir_path(dir, "e.svg"), &bars, &err), 0, "%s", err.text);
    well_formed(tempdir_path(dir, "e.svg"), "limit");

    cr_expect_eq(plot_lines("/nowhere/l.svg", "", panels, 1, &err), -1);
    cr_expect_not_null(strstr(err.text, "/nowhere"), "%s", err.text);
    tempdir_remove(dir);
}

/* ------------------------------------------------------------------ limits */

Test(bench, fractions_are_of_the_lower_limit_and_of_the_right_unit)
{
    struct machine m = {.bandwidth = 1e9, .ops = {[MACHINE_F32_FMA] = 1e9, [MACHINE_BF16_DOT] = 3e9, [MACHINE_INT8_DOT] = 5e8}};
    cr_expect_eq(machine_peak(&m, "f32"), 1e9);
    cr_expect_eq(machine_peak(&m, "bf16"), 3e9);
    cr_expect_eq(machine_peak(&m, "int8"), 1e9, "widening is faster than this unit");
    m.ops[MACHINE_INT8_AMX] = 8e9;
    cr_expect_eq(machine_peak(&m, "int8"), 8e9);

    /* 900 numbers in the layers, 100 in the head, 2 bytes each: 2000 bytes and 2000 operations a token of a decode, without attention. */
    struct speed_model model = {.layer_weights = 900, .head_weights = 100, .weight_bytes = 2, .peak = 1e9, .pair_peak = 5e8};
    struct speed_row row = {.decode = true, .tokens = 64, .batch = 1, .tok_s = 250000};
    speed_row_limits(&row, &model, &m);
    cr_expect_float_eq(row.bw_frac, 0.5, 1e-12);
    cr_expect_float_eq(row.flop_frac, 0.5, 1e-12);
    cr_expect_float_eq(row.limit_tok_s, 500000, 1e-6);
    row.batch = 4; /* weights are read once for all four */
    row.tok_s = 250000;
    speed_row_limits(&row, &model, &m);
    cr_expect_float_eq(row.bw_frac, 0.125, 1e-12);
    cr_expect_float_eq(row.flop_frac, 0.5, 1e-12);
    cr_expect_float_eq(row.limit_tok_s, 500000, 1e-6);
    row = (struct speed_row){.decode = false, .tokens = 100, .batch = 1, .tok_s = 100000}; /* the head for one of 100 */
    speed_row_limits(&row, &model, &m);
    cr_expect_float_eq(row.flop_frac, 1000 * 2 * (100 * 900 + 100) / 1e9, 1e-12);
    cr_expect_float_eq(row.bw_frac, 1000 * 2000 / 1e9, 1e-12);

    /* Of 100 tokens the first sees one key, the last 100: 5050 pairs in a causal pass, 10000 in another. 1000 passes a second. */
    model.pair = 20;
    model.causal = true;
    const double products = 1000 * 2 * (100 * 900 + 100) / 1e9;
    speed_row_limits(&row, &model, &m);
    cr_expect_float_eq(row.flop_frac, products + 1000 * 5050 * 20 / 5e8, 1e-12);
    cr_expect_float_eq(row.limit_tok_s, row.tok_s / row.flop_frac, 1e-6);
    model.causal = false;
    speed_row_limits(&row, &model, &m);
    cr_expect_float_eq(row.flop_frac, products + 1000 * 10000 * 20 / 5e8, 1e-12);
    /* Steps 1, 2, ..., 64 of a decode see 32.5 keys in the mean. */
    row = (struct speed_row){.decode = true, .tokens = 64, .batch = 2, .tok_s = 100000};
    speed_row_limits(&row, &model, &m);
    cr_expect_float_eq(row.flop_frac, 100000 * (2000 / 1e9 + 32.5 * 20 / 5e8), 1e-12);
}

Test(bench, the_machine_is_measured_and_has_a_multiplier)
{
    struct machine m;
    struct err err = {0};
    cr_assert_eq(machine_measure(&m, 1, &err), 0, "%s", err.text);
    cr_expect_gt(m.bandwidth, 1e7);
    cr_expect_gt(m.ops[MACHINE_F32_FMA], 1e8);
    for (enum machine_unit u = 0; u < MACHINE_UNITS; u++)
        cr_expect(isfinite(m.ops[u]), "%s", machine_unit_name(u));
    cr_expect_eq(machine_measure(&m, 0, &err), -1);
    cr_expect_eq(err.code, ERR_USAGE);
}

/* ------------------------------------------------------------------ GGUF */

static uint64_t take(const uint8_t **p, int bytes)
{
    uint64_t v = bytes == 4 ? le_get32(*p) : le_get64(*p);
    *p += bytes;
    return v;
}

/* Reads the whole table as a peer would: the tensors follow each other, aligned, and end where the file ends. */
static void read_gguf(const char *path, unsigned matrix_type, uint64_t tensors, const float *row, double tolerance)
{
    size_t len;
    char *text = tempdir_slurp(path, &len);
    const uint8_t *p = (const void *)text, *first = NULL;
    uint64_t expected = 0;
    cr_assert_eq(memcmp(p, "GGUF", 4), 0);
    p += 4;
    cr_expect_eq(take(&p, 4), 3);
    cr_expect_eq(take(&p, 8), tensors);
    for (uint64_t keys = take(&p, 8); keys > 0; keys--) {
        p += take(&p, 8);
        uint64_t type = take(&p, 4);
        cr_assert(type == 4 || type == 6 || type == 8);
        if (type == 8)
            p += take(&p, 8);
        else
            p += 4;
    }
    for (uint64_t t = 0; t < tensors; t++) {
        uint64_t n = 1, name_len = take(&p, 8);
        bool embed = name_len == 17 && memcmp(p, "token_embd.weight", 17) == 0;
        p += name_len;
        uint64_t rank = take(&p, 4);
        for (uint64_t d = 0; d < rank; d++)
            n *= take(&p, 8);
        uint64_t type = take(&p, 4), offset = take(&p, 8);
        cr_expect_eq(type, rank == 2 ? matrix_type : 0);
        cr_expect_eq(offset, expected);
        if (embed)
            first = (const uint8_t *)text + offset;
        expected += type == 0 ? 4 * n : type == 30 ? 2 * n : n / 32 * 34;
        expected = (expected + 31) / 32 * 32;
    }
    size_t head = ((size_t)(p - (const uint8_t *)text) + 31) / 32 * 32;
    cr_expect_eq(head + expected, len);
    cr_assert_not_null(first);
    first += head;
    for (int i = 0; i < 32; i++) {
        float v, scale;
        if (matrix_type == 8) {
            dtype_to_f32(DTYPE_F16, first, &scale, 1);
            v = scale * (float)(int8_t)first[2 + i];
        } else {
            dtype_to_f32(matrix_type == 30 ? DTYPE_BF16 : DTYPE_F32, first + (size_t)i * (matrix_type == 30 ? 2 : 4), &v, 1);
        }
        cr_expect_float_eq(v, row[i], tolerance, "number %d is %g, expected %g", i, (double)v, (double)row[i]);
    }
    free(text);
}

Test(bench, a_gguf_file_holds_the_whole_model_in_the_wanted_type)
{
    char dir[FILE_PATH_MAX];
    struct err err = {0};
    struct checkpoint *cp;
    float row[64];
    const struct synth_shape llama = {.D = 64, .H = 4, .G = 2, .L = 2, .F = 96, .V = 50, .untied = true};
    tempdir_make(dir);
    cr_assert_eq(synth_checkpoint(dir, "LlamaForCausalLM", &llama, 1, &err), 0, "%s", err.text);
    cr_assert_eq(checkpoint_open(&cp, dir, CHECKPOINT_ALL, &err), 0, "%s", err.text);
    cr_assert_eq(checkpoint_rows_f32(checkpoint_tensor(cp, ROLE_TOKEN_EMBED, 0), 0, 1, row, &err), 0);
    checkpoint_close(cp);
    const char *types[] = {"f32", "bf16", "q8_0"};
    const unsigned ids[] = {0, 30, 8};
    const double tolerances[] = {0, 0.004, 0.005};
    for (int i = 0; i < 3; i++) {
        cr_assert_eq(gguf_write(tempdir_path(dir, "m.gguf"), dir, types[i], &err), 0, "%s", err.text);
        read_gguf(tempdir_path(dir, "m.gguf"), ids[i], 2 * 9 + 3, row, tolerances[i]);
    }
    cr_expect_eq(gguf_write(tempdir_path(dir, "m.gguf"), dir, "q4_0", &err), -1);
    cr_expect_not_null(strstr(err.text, "q8_0"), "%s", err.text);

    const struct synth_shape odd = {.D = 40, .H = 4, .L = 1, .F = 96, .V = 50};
    cr_assert_eq(synth_checkpoint(dir, "LlamaForCausalLM", &odd, 1, &err), 0, "%s", err.text);
    cr_expect_eq(gguf_write(tempdir_path(dir, "odd.gguf"), dir, "q8_0", &err), -1);
    cr_expect_not_null(strstr(err.text, "multiple of 32"), "%s", err.text);
    const struct synth_shape bert = {.D = 64, .H = 4, .L = 1, .F = 96, .V = 50};
    cr_assert_eq(synth_checkpoint(dir, "BertForMaskedLM", &bert, 1, &err), 0, "%s", err.text);
    cr_expect_eq(gguf_write(tempdir_path(dir, "bert.gguf"), dir, "f32", &err), -1);
    cr_expect_not_null(strstr(err.text, "Llama and GPT-2"), "%s", err.text);
    cr_expect_not(file_exists(tempdir_path(dir, "odd.gguf")));
    tempdir_remove(dir);
}

/* ------------------------------------------------------------------ peers */

static char peer_dir[FILE_PATH_MAX];

/* A program of three lines that stands for a peer. */
static const char *fake(const char *name, const char *body)
{
    char script[512];
    const char *path = tempdir_path(peer_dir, name);
    int n = snprintf(script, sizeof script, "#!/bin/sh\n%s\n", body);
    tempdir_spill(path, script, (size_t)n);
    cr_assert_eq(chmod(path, 0755), 0);
    return path;
}

static int run_fake(const char *kind, const char *body, bool decode, double *tok_s, struct err *err)
{
    struct peer peers[PEERS_MAX];
    char spec[2 * FILE_PATH_MAX];
    int count;
    *err = (struct err){0};
    (void)snprintf(spec, sizeof spec, "%s:fork=%s", kind, fake("peer.sh", body));
    cr_assert_eq(peer_parse(spec, peers, &count, err), 0, "%s", err->text);
    cr_assert_eq(count, 1);
    const struct peer_work w = {"m.gguf", "gpt2-124m", "f32", peer_dir, 2, decode, 64, 1};
    return peer_run(&peers[0], &w, tok_s, err);
}

Test(bench, peers_are_asked_and_their_figures_are_read)
{
    struct err err;
    double tok_s;
    tempdir_make(peer_dir);
    cr_expect_eq(run_fake("llama-bench", "echo \"$@\" >args; echo '[{\"n_gen\": 0, \"avg_ts\": 123.5}]'", false, &tok_s, &err), 0, "%s", err.text);
    cr_expect_eq(tok_s, 123.5);
    size_t len;
    char *args = tempdir_slurp(tempdir_path(peer_dir, "args"), &len);
    cr_expect_str_eq(args, "-m m.gguf -p 64 -n 0 -t 2 -ngl 0 -r 1 -o json\n");
    free(args);
    static const char table[] = "echo '|    PP |     TG |    B |'; echo '|-------|--------|------|'\n"
                                "echo '|     1 |     64 |    1 |     65 |    0.010 |   100.00 |    1.000 |    64.25 |    1.010 |    64.36 |'";
    cr_expect_eq(run_fake("llama-batched-bench", table, true, &tok_s, &err), 0, "%s", err.text);
    cr_expect_eq(tok_s, 64.25);
    char to_stderr[512];
    (void)snprintf(to_stderr, sizeof to_stderr, "{ %s\n} >&2", table);
    cr_expect_eq(run_fake("llama-batched-bench", to_stderr, true, &tok_s, &err), 0, "%s", err.text);
    cr_expect_eq(tok_s, 64.25);
    cr_expect_eq(run_fake("torch", "echo '{\"tok_s\": 9}'", true, &tok_s, &err), 0, "%s", err.text);
    cr_expect_eq(tok_s, 9);
    tempdir_remove(peer_dir);
}

Test(bench, a_peer_that_is_missing_fails_or_says_nothing_is_named)
{
    struct peer peers[PEERS_MAX];
    struct err err = {0};
    double tok_s = -1;
    int count;
    tempdir_make(peer_dir);
    cr_expect_eq(peer_parse("llama-bench=/nowhere/llama-bench", peers, &count, &err), -1);
    cr_expect_not_null(strstr(err.text, "/nowhere/llama-bench"), "%s", err.text);
    cr_expect_eq(peer_parse("llama-bench=no-such-program-here", peers, &count, &err), -1);
    cr_expect_eq(err.code, ERR_USAGE);
    cr_expect_eq(peer_parse("vllm=/bin/true", peers, &count, &err), -1);
    cr_expect_not_null(strstr(err.text, "'vllm' is not a kind"), "%s", err.text);
    cr_expect_eq(peer_parse("torch", peers, &count, &err), -1);
    cr_expect_eq(peer_parse("torch=", peers, &count, &err), -1);
    cr_assert_eq(peer_parse("torch=sh,llama-bench:other=/bin/sh,", peers, &count, &err), 0, "%s", err.text);
    cr_expect_eq(count, 2);
    cr_expect_str_eq(peers[0].label, "torch");
    cr_expect_str_eq(peers[1].label, "other");
    const struct peer_work batched = {.dtype = "int8", .decode = true, .tokens = 1, .batch = 8};
    cr_expect_not(peer_can(&peers[0], &batched));
    cr_expect_not(peer_can(&peers[1], &batched));

    cr_expect_eq(run_fake("llama-bench", "echo out of luck >&2; exit 3", false, &tok_s, &err), -1);
    cr_expect_not_null(strstr(err.text, "peer fork"), "%s", err.text);
    cr_expect_not_null(strstr(err.text, "status 3: out of luck"), "%s", err.text);
    cr_expect_eq(run_fake("llama-bench", "echo hello", false, &tok_s, &err), -1);
    cr_expect_not_null(strstr(err.text, "no figure"), "%s", err.text);
    cr_expect_eq(run_fake("torch", "echo '{\"tok_s\": null}'", false, &tok_s, &err), -1);
    cr_expect_eq(run_fake("llama-batched-bench", "true", true, &tok_s, &err), -1);
    cr_expect_eq(tok_s, -1, "untouched");
    tempdir_remove(peer_dir);
}
