// What manifest.json and the file's name say of a network. No Android here but its JSON parser.
package com.example.upscale

import org.json.JSONException
import org.json.JSONObject

/**
 * How a tensor's numbers stand for values in [0, 1]: as float32, or as uint8 `q` for `(q - zeroPoint) * scale`.
 *
 * They are the tensor's own, written down by the export: LiteRT's Kotlin classes neither tell them nor know uint8.
 */
data class Numbers(val isWhole: Boolean, val scale: Float, val zeroPoint: Int)

/** A network that takes LR windows `[1, height, width, 3]` and gives SR windows [scale] times as large. */
data class Network(
    val file: String,
    val height: Int,
    val width: Int,
    val scale: Int,
    val reach: Reach,
    val input: Numbers,
    val output: Numbers,
)

/** Reads what [manifest], the text of manifest.json, tells of [file]. Throws [Fault]. */
fun readNetwork(manifest: String, file: String): Network {
    val (height, width) = fixedSize(file)
    try {
        val all = JSONObject(manifest)
        val artifact = artifact(all, file)
        if (all.getInt("channels") != 3) {
            throw Fault("$file works on the luminance alone; use an RGB network.")
        }
        return Network(
            file, height, width, all.getInt("scale"),
            Reach(if (all.isNull("halo")) null else all.getInt("halo"), all.optInt("alignment", 1)),
            numbers(artifact.getJSONObject("input_type")), numbers(artifact.getJSONObject("output_type")),
        )
    } catch (error: JSONException) {
        throw Fault("manifest.json is broken (${error.message}); copy it anew from the model's export.", error)
    }
}

/** The size in a name such as model_int8_128x128.tflite: LiteRT's Kotlin classes can't resize a network. */
private fun fixedSize(file: String): Pair<Int, Int> {
    val found = Regex("""_(\d{1,5})x(\d{1,5})\.tflite$""").find(file)
        ?: throw Fault("$file leaves the size free; take one with a size, such as model_int8_128x128.tflite.")
    return found.groupValues[1].toInt() to found.groupValues[2].toInt()
}

private fun artifact(manifest: JSONObject, file: String): JSONObject {
    val artifacts = manifest.getJSONArray("artifacts")
    return (0 until artifacts.length()).map(artifacts::getJSONObject).find { it.getString("file") == file }
        ?: throw Fault("manifest.json does not name $file; copy both from one export.")
}

private fun numbers(type: JSONObject): Numbers = when (val dtype = type.getString("dtype")) {
    "float32" -> Numbers(false, 0f, 0)
    "uint8" -> Numbers(true, type.getDouble("scale").toFloat(), type.getInt("zero_point"))
    else -> throw Fault("The network must take and give float32 or uint8, got $dtype; export it anew.")
}
