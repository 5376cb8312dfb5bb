/* model/preprocess: every spelling of preprocessor_config.json, and what is refused by name. */
#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>

#include "model/arch.h"
#include "model/preprocess.h"

static struct err err;
static const struct config square = {.channels = 3, .image = {224, 224}}, grey = {.channels = 1, .image = {28, 28}};

static int parse(struct preprocess *out, const char *text, const struct config *like, const char *architecture)
{
    struct config c = *like;
    struct json_doc *doc;
    c.arch = arch_find(architecture);
    cr_assert_eq(json_parse(&doc, text, strlen(text), false, "preprocessor_config.json", &err), 0, "%s", err.text);
    int rc = preprocess_parse(out, doc, &c, &err);
    json_free(doc);
    return rc;
}

static struct preprocess read_vit(const char *text)
{
    struct preprocess p;
    cr_assert_eq(parse(&p, text, &square, "ViTForImageClassification"), 0, "%s: %s", text, err.text);
    return p;
}

/* Catches each default in the other's place (tried). */
Test(preprocess, defaults_are_those_of_the_two_processors)
{
    struct preprocess p = read_vit("{}");
    cr_expect(p.resize && p.rescale && p.normalise && !p.crop && !p.shortest && p.resample == RESAMPLE_BILINEAR);
    cr_expect(p.size[0] == 224 && p.size[1] == 224 && p.factor == 1.0 / 255 && p.mean[2] == 0.5 && p.std[2] == 0.5);
    p = read_vit("{\"image_processor_type\": \"DeiTImageProcessor\"}");
    cr_expect(p.crop && p.resample == RESAMPLE_BICUBIC && p.size[0] == 256 && p.crop_size[1] == 224);
    cr_assert_eq(parse(&p, "{}", &square, "DeiTForImageClassification"), 0, "%s", err.text);
    cr_expect(p.crop && p.size[0] == 256, "the model says which");
}

Test(preprocess, sizes_are_read_in_every_spelling)
{
    static const char *const same[] = {"224", "[224, 224]", "{\"height\": 224, \"width\": 224}"};
    char text[256];
    for (size_t i = 0; i < 3; i++) {
        (void)snprintf(text, sizeof text, "{\"size\": %s, \"feature_extractor_type\": \"ViTFeatureExtractor\"}", same[i]);
        struct preprocess p = read_vit(text);
        cr_expect(p.size[0] == 224 && p.size[1] == 224 && !p.shortest, "%s", text);
    }
    struct preprocess p = read_vit("{\"size\": {\"shortest_edge\": 240}, \"do_center_crop\": true, \"crop_size\": 224, \"resample\": 1}");
    cr_expect(p.shortest && p.size[0] == 240 && p.crop && p.resample == RESAMPLE_LANCZOS);
    p = read_vit("{\"size\": 240, \"default_to_square\": false, \"do_center_crop\": true, \"crop_size\": {\"height\": 224, \"width\": 224}}");
    cr_expect(p.shortest && p.size[0] == 240);
    p = read_vit("{\"do_resize\": false, \"size\": 9}");
    cr_expect_not(p.resize);
    cr_assert_eq(parse(&p, "{\"size\": 28, \"image_mean\": [0.1307], \"image_std\": [0.3081], \"do_rescale\": false}", &grey, "ViTForImageClassification"),
                 0, "%s", err.text);
    cr_expect(p.mean[0] == 0.1307 && p.std[0] == 0.3081 && !p.rescale);
}

Test(preprocess, what_is_not_implemented_is_refused_by_name)
{
    static const struct {
        const char *text, *why;
    } bad[] = {
        {"[]", "expected an object"},
        {"{\"image_processor_type\": \"CLIPImageProcessor\"}", "'CLIPImageProcessor' is not implemented; known: ViTImageProcessor"},
        {"{\"image_processor_type\": \"ViTImageProcessorX\"}", "not implemented"},
        {"{\"resample\": 0}", "field 'resample': 0 is not implemented; known: 1 (lanczos), 2 (bilinear), 3 (bicubic)"},
        {"{\"resample\": 4}", "field 'resample': 4"},
        {"{\"resample\": \"bilinear\"}", "field 'resample'"},
        {"{\"size\": 225}", "images end as 225 x 225 pixels (height x width), the model takes 224 x 224"},
        {"{\"size\": {\"height\": 224}}", "field 'size'"},
        {"{\"size\": {\"longest_edge\": 224}}", "field 'size'"},
        {"{\"size\": {\"max_height\": 224, \"max_width\": 224}}", "field 'size'"},
        {"{\"size\": 0}", "expected pixels from 1 to 4096"},
        {"{\"size\": \"224\"}", "found a string"},
        {"{\"size\": 230, \"do_center_crop\": true, \"crop_size\": 200}", "field 'crop_size'"},
        {"{\"size\": 200, \"do_center_crop\": true}", "larger than 'size'"},
        {"{\"size\": {\"shortest_edge\": 200}, \"do_center_crop\": true}", "larger than 'size'"},
        {"{\"do_center_crop\": true, \"crop_size\": {\"shortest_edge\": 224}}", "field 'crop_size'"},
        {"{\"image_mean\": [0.5]}", "expected a list of 3 numbers"},
        {"{\"image_std\": [0.5, 0, 0.5]}", "expected a list of 3 positive numbers"},
        {"{\"image_std\": 0.5}", "field 'image_std'"},
        {"{\"image_mean\": [0.5, 0.5, \"x\"]}", "field 'image_mean'"},
        {"{\"do_resize\": 1}", "field 'do_resize'"},
        {"{\"rescale_factor\": \"1/255\"}", "field 'rescale_factor'"},
    };
    struct preprocess p;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        cr_expect_eq(parse(&p, bad[i].text, &square, "ViTForImageClassification"), -1, "%s was taken", bad[i].text);
        cr_expect(strstr(err.text, bad[i].why) != NULL, "%s: '%s'", bad[i].text, err.text);
        cr_expect_eq(err.code, ERR_INPUT);
    }
}
