package revet.testtypes;

import java.util.Map;

import org.elasticsearch.index.mapper.KeywordFieldMapper;
import org.elasticsearch.index.mapper.Mapper;
import org.elasticsearch.index.mapper.TextFieldMapper;
import org.elasticsearch.plugins.MapperPlugin;
import org.elasticsearch.plugins.Plugin;

/**
 * Stand-ins for field types whose modules are not published on their own, so that the templates of production can be
 * applied to the test server unchanged. For tests only: GET _mapping answers with the type that stands in.
 */
public final class TestTypesPlugin extends Plugin implements MapperPlugin {
    @Override
    public Map<String, Mapper.TypeParser> getMappers() {
        // The parsers themselves, not wrapped: only they are taken for multi-fields.
        return Map.of(
            "match_only_text", TextFieldMapper.PARSER,
            "wildcard", KeywordFieldMapper.PARSER,
            "version", KeywordFieldMapper.PARSER,
            "constant_keyword", (name, node, context) -> {
                node.remove("value");
                return KeywordFieldMapper.PARSER.parse(name, node, context);
            });
    }
}
