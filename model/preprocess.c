#include "model/preprocess.h"

#include <math.h>
#include <string.h>

#include "base/file.h"
#include "model/arch.h"

/* "image_processor_type": "ViTImageProcessor", before that "feature_extractor_type": "ViTFeatureExtractor". Without either, the
 * model's own. */
static int read_kind(bool *deit, const struct json_doc *doc, const struct config *c, struct err *err)
{
    static const char *const endings[] = {"ImageProcessor", "ImageProcessorFast", "ImageProcessorPil", "FeatureExtractor"};
    const char *kind = NULL;
    if (json_opt_str(doc, json_root(doc), "feature_extractor_type", &kind, err) != 0 ||
        json_opt_str(doc, json_root(doc), "image_processor_type", &kind, err) != 0)
        return -1;
    *deit = kind == NULL ? strcmp(c->arch->model_type, "deit") == 0 : strncmp(kind, "DeiT", 4) == 0;
    const char *ending = kind == NULL ? endings[0] : *deit ? kind + 4 : strncmp(kind, "ViT", 3) == 0 ? kind + 3 : "";
    for (size_t i = 0; i < sizeof endings / sizeof *endings; i++)
        if (strcmp(ending, endings[i]) == 0)
            return 0;
    return err_set(err, ERR_INPUT, "%s: field 'image_processor_type': '%.60s' is not implemented; known: ViTImageProcessor, "
                                   "DeiTImageProcessor and their Fast, Pil and FeatureExtractor spellings", json_name(doc), kind);
}

static bool is_side(const struct json *node, int *out)
{
    int64_t v;
    if (!json_integer(node, &v) || v < 1 || v > SHAPE_MAX_IMAGE)
        return false;
    *out = (int)v;
    return true;
}

/* 224, [224, 224], {"height": 224, "width": 224} or, where `shortest` is given, {"shortest_edge": 224}. */
static int read_size(int out[2], bool *shortest, const struct json_doc *doc, const char *key, struct err *err)
{
    const struct json *node = json_get(json_root(doc), key), *high = node, *wide = node;
    bool square = true;
    if (json_is_null(node))
        return 0;
    if (json_type(node) == JSON_ARRAY && json_count(node) == 2) {
        high = json_first(node);
        wide = json_next(high);
    } else if (json_type(node) == JSON_OBJECT && json_get(node, "shortest_edge") != NULL && json_count(node) == 1) {
        high = wide = json_get(node, "shortest_edge");
        square = false;
    } else if (json_type(node) == JSON_OBJECT && json_count(node) == 2) {
        high = json_get(node, "height");
        wide = json_get(node, "width");
    } else if (json_type(node) == JSON_NUMBER && json_opt_bool(doc, json_root(doc), "default_to_square", &square, err) != 0) {
        return -1;
    }
    int sides[2];
    if (!is_side(high, &sides[0]) || !is_side(wide, &sides[1]) || (!square && shortest == NULL))
        return err_set(err, ERR_INPUT, "%s: field '%s': expected pixels from 1 to %d, {\"height\", \"width\"}%s, found %s", json_name(doc),
                       key, SHAPE_MAX_IMAGE, shortest != NULL ? " or {\"shortest_edge\"}" : "",
                       json_type(node) == JSON_OBJECT ? "others" : json_type_name(node));
    memcpy(out, sides, sizeof sides);
    if (shortest != NULL)
        *shortest = !square;
    return 0;
}

/* PIL's numbers. */
static int read_resample(enum resample *out, const struct json_doc *doc, struct err *err)
{
    int64_t number = *out == RESAMPLE_BICUBIC ? 3 : 2;
    if (json_opt_int(doc, json_root(doc), "resample", 0, 5, &number, err) != 0)
        return -1;
    if (number < 1 || number > 3)
        return err_set(err, ERR_INPUT, "%s: field 'resample': %lld is not implemented; known: 1 (lanczos), 2 (bilinear), 3 (bicubic)",
                       json_name(doc), (long long)number);
    *out = number == 1 ? RESAMPLE_LANCZOS : number == 2 ? RESAMPLE_BILINEAR : RESAMPLE_BICUBIC;
    return 0;
}

static int read_channels(double out[3], const struct json_doc *doc, const char *key, int channels, bool divisor, struct err *err)
{
    const struct json *node = json_get(json_root(doc), key), *item = json_first(node);
    if (json_is_null(node))
        return 0;
    for (int k = 0; k < channels; k++, item = json_next(item)) {
        const double x = json_number(item);
        if (json_type(node) != JSON_ARRAY || json_count(node) != (size_t)channels || !isfinite(x) || (divisor && !(x > 0)))
            return err_set(err, ERR_INPUT, "%s: field '%s': expected a list of %d %snumbers, one for each channel", json_name(doc), key, channels,
                           divisor ? "positive " : "");
        out[k] = x;
    }
    return 0;
}

/* Where the sizes say how the image ends, it is the model's; a crop that is larger than what it is cut from would be filled up. */
static int check_sizes(const struct preprocess *p, const struct json_doc *doc, const struct config *c, struct err *err)
{
    const int *end = p->crop ? p->crop_size : p->size;
    const bool known = p->crop || (p->resize && !p->shortest);
    if (known && (end[0] != c->image[0] || end[1] != c->image[1]))
        return err_set(err, ERR_INPUT, "%s: field '%s': images end as %d x %d pixels (height x width), the model takes %d x %d", json_name(doc),
                       p->crop ? "crop_size" : "size", end[0], end[1], c->image[0], c->image[1]);
    if (p->crop && p->resize && (p->size[0] < p->crop_size[0] || p->size[1] < p->crop_size[1]))
        return err_set(err, ERR_INPUT, "%s: field 'crop_size': larger than 'size'; filling up is not implemented", json_name(doc));
    return 0;
}

int preprocess_parse(struct preprocess *out, const struct json_doc *doc, const struct config *c, struct err *err)
{
    const struct json *root = json_root(doc);
    bool deit;
    struct preprocess p = {.resize = true, .rescale = true, .normalise = true, .size = {224, 224}, .crop_size = {224, 224},
                           .factor = 1.0 / 255, .mean = {0.5, 0.5, 0.5}, .std = {0.5, 0.5, 0.5}};
    if (json_type(root) != JSON_OBJECT)
        return err_set(err, ERR_INPUT, "%s: expected an object, found %s", json_name(doc), json_type_name(root));
    if (read_kind(&deit, doc, c, err) != 0)
        return -1;
    p.crop = deit;
    if (deit) {
        p.resample = RESAMPLE_BICUBIC;
        p.size[0] = p.size[1] = 256;
    }
    if (json_opt_bool(doc, root, "do_resize", &p.resize, err) != 0 || json_opt_bool(doc, root, "do_center_crop", &p.crop, err) != 0 ||
        json_opt_bool(doc, root, "do_rescale", &p.rescale, err) != 0 ||
        json_opt_bool(doc, root, "do_normalize", &p.normalise, err) != 0 || read_size(p.size, &p.shortest, doc, "size", err) != 0 ||
        read_size(p.crop_size, NULL, doc, "crop_size", err) != 0 || read_resample(&p.resample, doc, err) != 0 ||
        json_opt_num(doc, root, "rescale_factor", &p.factor, err) != 0 ||
        read_channels(p.mean, doc, "image_mean", c->channels, false, err) != 0 ||
        read_channels(p.std, doc, "image_std", c->channels, true, err) != 0 || check_sizes(&p, doc, c, err) != 0)
        return -1;
    if (!isfinite(p.factor))
        return err_set(err, ERR_INPUT, "%s: field 'rescale_factor': expected a finite number", json_name(doc));
    *out = p;
    return 0;
}

int preprocess_read(struct preprocess *out, const char *dir, const struct config *c, struct err *err)
{
    char path[FILE_PATH_MAX];
    struct json_doc *doc;
    if (file_join(path, dir, PREPROCESS_NAME, err) != 0)
        return -1;
    if (!file_exists(path))
        return err_set(err, ERR_INPUT, "%s: there is no " PREPROCESS_NAME ", which says how images are resized and normalised for a %s", dir,
                       c->architecture);
    if (json_load(&doc, path, JSON_CAP_CONFIG, false, err) != 0)
        return -1;
    int rc = preprocess_parse(out, doc, c, err);
    json_free(doc);
    return rc;
}

int preprocess_check(const char *dir, const struct config *c, struct err *err)
{
    struct preprocess p;
    return config_reads_images(c) ? preprocess_read(&p, dir, c, err) : 0;
}
