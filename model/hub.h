/* model/hub.h - where a model lies: a folder, or a repository of Hugging Face in this machine's cache. Never the network.
 *
 * Data flow   --model -> hub_find -> folder with config.json.
 *             ORG/NAME[@REVISION] -> CACHE/models--ORG--NAME/refs/REVISION -> CACHE/models--ORG--NAME/snapshots/COMMIT.
 *             CACHE is HF_HUB_CACHE, HUGGINGFACE_HUB_CACHE, HF_HOME/hub, XDG_CACHE_HOME/huggingface/hub or
 *             ~/.cache/huggingface/hub: the first that is set, as huggingface_hub has it.
 * Errors      neither a folder nor in the cache: names both places that were looked at and how to fetch the model.
 * Memory      fills the caller's path.
 * Secrets     none.
 * Source      huggingface_hub's cache layout.
 */
#ifndef STIP_MODEL_HUB_H
#define STIP_MODEL_HUB_H

#include "base/cli.h"
#include "base/file.h"

/* A folder that exists is taken as it is, whatever its name. REVISION: a branch or tag (main without one), or a commit. */
MUST_CHECK int hub_find(char out[FILE_PATH_MAX], const char *model, struct err *err);
/* The same for the --model that a command needs. */
MUST_CHECK int hub_option(char out[FILE_PATH_MAX], const struct cli_cmd *cmd, struct err *err);

#endif
